/* An entry of 8 bytes. */
#define sluice_connector_v1 declared_elsewhere
#include "plugin.h"
#undef sluice_connector_v1
__attribute__((visibility("default"))) extern const uint64_t sluice_connector_v1;
const uint64_t sluice_connector_v1 = 1;
