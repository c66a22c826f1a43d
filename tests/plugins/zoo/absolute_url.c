/* Names a host of its own. */
#include "plugin.h"
static sluice_status step(ARGS) {
  sluice_request request = zoo_request(1, "/widgets");
  request.target = bytes_of("https://evil.example/");
  const sluice_status status = sink->request(sink->ctx, &request);
  return status < 0 ? status : SLUICE_STEP_WAIT;
}
PLUGIN(step)
