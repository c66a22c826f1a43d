/* FAILED without a reason. */
#include "plugin.h"
static sluice_status step(ARGS) { return SLUICE_STEP_FAILED; }
PLUGIN(step)
