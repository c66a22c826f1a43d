/* Lets an exception out of step(). */
#include "plugin.h"
static sluice_status step(ARGS) { throw 1; }
PLUGIN(step)
