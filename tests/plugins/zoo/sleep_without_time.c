/* Sleeps for ever. */
#include "plugin.h"
static sluice_status step(ARGS) { return SLUICE_STEP_SLEEP; }
PLUGIN(step)
