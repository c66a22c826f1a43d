/* A header value with a line break. */
#include "plugin.h"
static sluice_status step(ARGS) {
  sluice_request request = zoo_request(1, "/widgets");
  const sluice_header header = {bytes_of("X-A"), bytes_of("1\r\nHost: evil")};
  request.headers = &header;
  request.header_count = 1;
  const sluice_status status = sink->request(sink->ctx, &request);
  return status < 0 ? status : SLUICE_STEP_WAIT;
}
PLUGIN(step)
