// The SDK compiles as C++20, without the host's language level, and each header by itself.
#include <sluice/sdk_json.hpp>
#include <sluice/sdk_record.hpp>
#include <sluice/sdk_task.hpp>
#include <sluice/sdk_text.hpp>

#include <sluice/sdk.hpp>
