/* CHECK without an answer. */
#include "plugin.h"
static sluice_status step(ARGS) { return SLUICE_STEP_DONE; }
PLUGIN(step)
