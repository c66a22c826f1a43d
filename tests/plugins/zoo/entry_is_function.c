/* The entry is a function: calling it would run code to learn what it is. */
#define sluice_connector_v1 declared_elsewhere
#include "plugin.h"
#undef sluice_connector_v1
__attribute__((visibility("default"))) const void* sluice_connector_v1(void);
const void* sluice_connector_v1(void) { return zoo_manifest; }
