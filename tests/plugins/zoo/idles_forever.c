/* MORE, and never anything. */
#include "plugin.h"
static sluice_status step(ARGS) { return SLUICE_STEP_MORE; }
PLUGIN(step)
