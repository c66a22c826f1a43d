/* query_extension is NULL. */
#include "plugin.h"
static sluice_status idle(ARGS) { return SLUICE_STEP_DONE; }
#define zoo_extension NULL
PLUGIN(idle)
