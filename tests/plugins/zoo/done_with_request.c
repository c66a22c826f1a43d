/* Is done while it waits. */
#include "plugin.h"
static sluice_status step(ARGS) {
  sluice_request request = zoo_request(1, "/");
  sink->request(sink->ctx, &request);
  return SLUICE_STEP_DONE;
}
PLUGIN(step)
