/* A record that this stream does not bring. */
#include "plugin.h"
static sluice_status step(ARGS) {
  sluice_record record = zoo_record("b1", NULL, 0);
  record.type = 1;
  const sluice_status status = sink->record(sink->ctx, &record);
  return status < 0 ? status : SLUICE_STEP_DONE;
}
PLUGIN(step)
