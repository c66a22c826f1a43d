/* A result that does not exist. */
#include "plugin.h"
static sluice_status step(ARGS) { return 99; }
PLUGIN(step)
