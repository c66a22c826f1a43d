/* Well-behaved: ends its step at SLUICE_STOP and goes on in the next. */
#include "plugin.h"

static sluice_status step(ARGS) {
  if (++session->steps == 2) return SLUICE_STEP_DONE;
  for (;;) {
    sluice_record record = zoo_record("w1", NULL, 0);
    const sluice_status status = sink->record(sink->ctx, &record);
    if (status < 0) return status;
    if (status == SLUICE_STOP) return SLUICE_STEP_MORE;
  }
}
PLUGIN(step)
