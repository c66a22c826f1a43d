/* READ never comes back from its first step: it burns a core, or hangs in a system call, as the config's colour
 * says. CHECK asks nobody and is well-behaved, unless the colour is "dark". */
#include "plugin.h"

#include <unistd.h>

static sluice_status step(ARGS) {
  if (session->operation == SLUICE_OP_CHECK && session->steps != 2) {
    const sluice_status status =
        sink->result(sink->ctx, bytes_of("{\"account\":{\"id\":\"a1\"},\"mode\":\"test\"}"));
    return status < 0 ? status : SLUICE_STEP_DONE;
  }
  while (session->number == 1) {
    if (session->steps != 1) pause();
    __asm__ volatile("" ::: "memory");
  }
  return SLUICE_STEP_DONE;
}

static sluice_status open_busy(const sluice_host* host, const sluice_open_args* args,
                               sluice_session** session) {
  const sluice_status status = zoo_open(host, args, session);
  if (status != SLUICE_OK) return status;
  (*session)->number = 1;
  for (uint64_t at = 0; at + 4 <= args->config_json.size; ++at) {
    if (memcmp(args->config_json.data + at, "burn", 4) == 0) (*session)->steps = 1;
    if (memcmp(args->config_json.data + at, "dark", 4) == 0) (*session)->steps = 2;
  }
  return SLUICE_OK;
}

#undef OPEN
#define OPEN open_busy
PLUGIN(step)
