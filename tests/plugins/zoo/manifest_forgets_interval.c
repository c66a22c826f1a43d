/* The misdeed is in its manifest: see CMakeLists.txt. */
#include "plugin.h"
IDLE_PLUGIN
