/* Sets the credential itself. */
#include "plugin.h"
static sluice_status step(ARGS) {
  sluice_request request = zoo_request(1, "/widgets");
  const sluice_header header = {bytes_of("AUTHORIZATION"), bytes_of("Bearer x")};
  request.headers = &header;
  request.header_count = 1;
  const sluice_status status = sink->request(sink->ctx, &request);
  return status < 0 ? status : SLUICE_STEP_WAIT;
}
PLUGIN(step)
