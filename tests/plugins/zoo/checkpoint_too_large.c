/* A checkpoint of 4097 bytes. */
#include "plugin.h"
static sluice_status step(ARGS) {
  static const uint8_t large[4097];
  const sluice_bytes bytes = {large, sizeof(large)};
  const sluice_status status = sink->checkpoint(sink->ctx, bytes);
  return status < 0 ? status : SLUICE_STEP_DONE;
}
PLUGIN(step)
