/* The note's manifest is JSON that breaks off: see CMakeLists.txt. */
#include "plugin.h"
IDLE_PLUGIN
