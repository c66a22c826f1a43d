/* Calls what neither it nor the C run time has: only the dynamic loader can tell. */
#include "plugin.h"
sluice_status nobody_defines_this(sluice_session* session);
static sluice_status step(ARGS) { return nobody_defines_this(session); }
PLUGIN(step)
