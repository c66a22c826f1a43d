/* Refuses to open although nothing is wrong. */
#include "plugin.h"
static sluice_status refuse(const sluice_host* host, const sluice_open_args* args,
                            sluice_session** session) {
  (void)host;
  (void)args;
  (void)session;
  return SLUICE_E_ARG;
}
#undef OPEN
#define OPEN refuse
IDLE_PLUGIN
