/* The misdeed is in how it is built: see CMakeLists.txt. */
#include "plugin.h"
IDLE_PLUGIN
