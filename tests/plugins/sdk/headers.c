// The contract compiles as strict C11, and a connector can be written in it.
#include <sluice/connector.h>

static sluice_status open_none(const sluice_host* host, const sluice_open_args* args,
                               sluice_session** session) {
  (void)host;
  (void)args;
  *session = NULL;
  return SLUICE_E_UNSUPPORTED;
}

const sluice_entry_v1 sluice_connector_v1 = {
    .struct_size = sizeof(sluice_entry_v1), .abi_major = SLUICE_ABI_MAJOR, .open = open_none};
