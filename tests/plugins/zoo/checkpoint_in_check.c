/* A checkpoint that is no READ's; the test runs CHECK. */
#include "plugin.h"
static sluice_status step(ARGS) {
  sink->checkpoint(sink->ctx, bytes_of("1"));
  return SLUICE_STEP_DONE;
}
PLUGIN(step)
