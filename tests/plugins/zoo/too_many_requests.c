/* As many requests as may be out at once, which is right; at the first answer two more, which is one too many. */
#include "plugin.h"
static sluice_status step(ARGS) {
  for (int more = input->kind == SLUICE_INPUT_START ? 16 : 2; more > 0; --more) {
    sluice_request request = zoo_request(++session->next_request, "/widgets");
    const sluice_status status = sink->request(sink->ctx, &request);
    if (status < 0) return status;
  }
  return SLUICE_STEP_WAIT;
}
PLUGIN(step)
