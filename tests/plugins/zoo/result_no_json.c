/* An answer that is no JSON. */
#include "plugin.h"
static sluice_status step(ARGS) {
  const sluice_status status = sink->result(sink->ctx, bytes_of("{\"account\":"));
  return status < 0 ? status : SLUICE_STEP_DONE;
}
PLUGIN(step)
