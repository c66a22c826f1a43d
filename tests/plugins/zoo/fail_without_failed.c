/* A reason without FAILED. */
#include "plugin.h"
static sluice_status step(ARGS) {
  sluice_failure failure = zoo_failure(SLUICE_FAIL_AUTH, "no");
  sink->fail(sink->ctx, &failure);
  return SLUICE_STEP_DONE;
}
PLUGIN(step)
