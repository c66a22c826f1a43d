/* One attribute twice. */
#include "plugin.h"
static sluice_status step(ARGS) {
  const sluice_value values[] = {zoo_text(0, "a"), zoo_text(0, "b")};
  sluice_record record = zoo_record("w1", values, 2);
  const sluice_status status = sink->record(sink->ctx, &record);
  return status < 0 ? status : SLUICE_STEP_DONE;
}
PLUGIN(step)
