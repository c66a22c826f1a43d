/* The entry points at another manifest than the note's. */
#include <stdint.h>
static const uint8_t other_manifest[] = "{\"id\": \"wolf\"}";
#define ENTRY_MANIFEST other_manifest
#define ENTRY_MANIFEST_SIZE (sizeof(other_manifest) - 1)
#include "plugin.h"
IDLE_PLUGIN
