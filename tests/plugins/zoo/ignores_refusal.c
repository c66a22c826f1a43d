/* Is refused and goes on as if it were not. */
#include "plugin.h"
static sluice_status step(ARGS) {
  sluice_request request = zoo_request(0, "/");
  sink->request(sink->ctx, &request);
  return SLUICE_STEP_DONE;
}
PLUGIN(step)
