/* Two failures in one step. */
#include "plugin.h"
static sluice_status step(ARGS) {
  sluice_failure failure = zoo_failure(SLUICE_FAIL_AUTH, "no");
  sink->fail(sink->ctx, &failure);
  sink->fail(sink->ctx, &failure);
  return SLUICE_STEP_FAILED;
}
PLUGIN(step)
