/* No entry at all. */
#include "plugin.h"
__attribute__((visibility("default"))) const void* sluice_connector_v9(void);
const void* sluice_connector_v9(void) { return zoo_manifest; }
