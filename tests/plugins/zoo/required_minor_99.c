/* Needs a newer host. */
#define NOTE_MINOR 99
#include "plugin.h"
IDLE_PLUGIN
