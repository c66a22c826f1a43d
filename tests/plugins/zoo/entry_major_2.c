/* The note says 1, the mapped entry says 2. */
#define ENTRY_MAJOR 2
#include "plugin.h"
IDLE_PLUGIN
