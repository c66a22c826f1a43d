#include "contract/host_headers.hpp"

#include <gtest/gtest.h>

namespace sluice::contract {
namespace {

TEST(HostHeaders, names_are_known_in_any_case_and_no_other_name_is_taken_for_one) {
  for (const char* name : {"Host", "HOST", "content-length", "Transfer-Encoding", "Connection",
                           "Upgrade", "TE", "Proxy-Anything", "X-Forwarded-For", "Accept-Encoding"})
    EXPECT_EQ(host_header(name), HostHeader::transport) << name;
  for (const char* name : {"Authorization", "cookie"})
    EXPECT_EQ(host_header(name), HostHeader::credential) << name;
  for (const char* name : {"", "X-Host", "Hostname", "Accept", "X-Api-Key", "Content-Type", "prox"})
    EXPECT_EQ(host_header(name), HostHeader::none) << name;
}

}  // namespace
}  // namespace sluice::contract
