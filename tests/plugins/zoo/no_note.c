/* No note: nothing can be read before it is loaded. */
#define NOTES 0
#include "plugin.h"
IDLE_PLUGIN
