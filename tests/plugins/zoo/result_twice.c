/* Two answers to one CHECK. */
#include "plugin.h"
static sluice_status step(ARGS) {
  sink->result(sink->ctx, bytes_of("{}"));
  const sluice_status status = sink->result(sink->ctx, bytes_of("{}"));
  return status < 0 ? status : SLUICE_STEP_DONE;
}
PLUGIN(step)
