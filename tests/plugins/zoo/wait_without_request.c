/* Waits for nothing. */
#include "plugin.h"
static sluice_status step(ARGS) { return SLUICE_STEP_WAIT; }
PLUGIN(step)
