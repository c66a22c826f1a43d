/* Needs a library beside the C run time. */
#include "plugin.h"
int zoo_helper(void);
static sluice_status idle(ARGS) { return zoo_helper(); }
PLUGIN(idle)
