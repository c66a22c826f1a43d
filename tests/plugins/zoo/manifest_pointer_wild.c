/* The entry's manifest lies nowhere. */
#define ENTRY_MANIFEST ((const uint8_t*)16)
#define ENTRY_MANIFEST_SIZE 100
#include "plugin.h"
IDLE_PLUGIN
