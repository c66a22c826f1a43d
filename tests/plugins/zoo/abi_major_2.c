/* Made for another major version. */
#define NOTE_MAJOR 2
#include "plugin.h"
IDLE_PLUGIN
