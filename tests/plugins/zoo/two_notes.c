/* Two notes: which is the manifest? */
#define NOTES 2
#include "plugin.h"
IDLE_PLUGIN
