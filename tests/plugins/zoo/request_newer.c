/* A structure with a tail that the host does not know. */
#include "plugin.h"
static sluice_status step(ARGS) {
  sluice_request request = zoo_request(1, "/widgets");
  struct {
    sluice_request known;
    uint64_t newer;
  } grown = {request, 1};
  grown.known.struct_size = sizeof(grown);
  const sluice_status refused = sink->request(sink->ctx, &grown.known);
  if (refused < 0) return refused;
  const sluice_status status = sink->request(sink->ctx, &request);
  return status < 0 ? status : SLUICE_STEP_WAIT;
}
PLUGIN(step)
