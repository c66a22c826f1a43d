/* Uses the entry of a library that it pulls in. */
#include "plugin.h"
extern const void* const borrowed_entry;
__attribute__((visibility("default"))) const void* const borrowed_entry = &sluice_connector_v1;
