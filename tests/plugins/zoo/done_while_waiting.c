/* Asks two things and is done after the first answer: the second page would be lost. */
#include "plugin.h"
static sluice_status step(ARGS) {
  if (input->kind != SLUICE_INPUT_START) return SLUICE_STEP_DONE;
  for (uint64_t id = 1; id <= 2; ++id) {
    sluice_request request = zoo_request(id, "/widgets");
    const sluice_status status = sink->request(sink->ctx, &request);
    if (status < 0) return status;
  }
  return SLUICE_STEP_WAIT;
}
PLUGIN(step)
