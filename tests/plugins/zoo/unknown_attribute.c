/* An attribute that the type does not have. */
#include "plugin.h"
static sluice_status step(ARGS) {
  const sluice_value values[] = {zoo_text(11, "a")};
  sluice_record record = zoo_record("w1", values, 1);
  const sluice_status status = sink->record(sink->ctx, &record);
  return status < 0 ? status : SLUICE_STEP_DONE;
}
PLUGIN(step)
