/* Goes on after SLUICE_STOP. */
#include "plugin.h"
static sluice_status step(ARGS) {
  for (int i = 0; i < 100000; ++i) {
    sluice_record record = zoo_record("w1", NULL, 0);
    const sluice_status status = sink->record(sink->ctx, &record);
    if (status < 0) return status;
  }
  return SLUICE_STEP_DONE;
}
PLUGIN(step)
