/* Reports its own failure as the contract says. */
#include "plugin.h"
static sluice_status step(ARGS) { return SLUICE_E_INTERNAL; }
PLUGIN(step)
