#include "e2e/rest.hpp"

#include <curl/curl.h>
#include <gtest/gtest.h>

#include "e2e/process.hpp"

namespace sluice::e2e {
namespace {

std::size_t append(char* data, std::size_t size, std::size_t count, void* out) {
  static_cast<std::string*>(out)->append(data, size * count);
  return size * count;
}

}  // namespace

Reply perform(const std::string& url, const Ask& ask) {
  Reply reply;
  CURL* curl = curl_easy_init();
  curl_easy_setopt(curl, CURLOPT_URL, (url + ask.path).c_str());
  curl_easy_setopt(curl, CURLOPT_PATH_AS_IS, 1L);
  curl_easy_setopt(curl, CURLOPT_NOPROXY, "*");
  curl_easy_setopt(curl, CURLOPT_TIMEOUT, 60L);
  curl_easy_setopt(curl, CURLOPT_WRITEFUNCTION, append);
  curl_easy_setopt(curl, CURLOPT_WRITEDATA, &reply.text);
  if (ask.body) {
    curl_easy_setopt(curl, CURLOPT_POSTFIELDSIZE_LARGE, static_cast<curl_off_t>(ask.body->size()));
    curl_easy_setopt(curl, CURLOPT_POSTFIELDS, ask.body->c_str());
  }
  curl_easy_setopt(curl, CURLOPT_CUSTOMREQUEST, ask.method.c_str());
  if (ask.method == "HEAD") curl_easy_setopt(curl, CURLOPT_NOBODY, 1L);
  curl_slist* headers = curl_slist_append(nullptr, ("Content-Type: " + ask.content_type).c_str());
  if (!ask.token.empty())
    headers = curl_slist_append(headers, ("Authorization: Bearer " + ask.token).c_str());
  curl_easy_setopt(curl, CURLOPT_HTTPHEADER, headers);
  const CURLcode code = curl_easy_perform(curl);
  EXPECT_EQ(code, CURLE_OK) << ask.method << " " << ask.path << ": " << curl_easy_strerror(code);
  curl_easy_getinfo(curl, CURLINFO_RESPONSE_CODE, &reply.status);
  const char* type = nullptr;
  curl_easy_getinfo(curl, CURLINFO_CONTENT_TYPE, &type);
  if (type != nullptr) reply.content_type = type;
  curl_slist_free_all(headers);
  curl_easy_cleanup(curl);
  return reply;
}

Said run_sluice(const std::filesystem::path& directory, const std::string& url,
                const std::string& token, std::vector<std::string> arguments,
                std::map<std::string, std::string> environment) {
  static int runs = 0;
  Launch launch;
  launch.program = std::string(SLUICE_BINARY_DIR) + "/bin/sluice";
  launch.arguments = std::move(arguments);
  launch.environment = std::move(environment);
  launch.environment["SLUICE_URL"] = url;
  launch.environment["SLUICE_TOKEN"] = token;
  launch.environment["SLUICE_WORKSPACE"] = "acme";
  const std::string name = "cli." + std::to_string(++runs);
  launch.output = directory / (name + ".out");
  launch.errors = directory / (name + ".err");
  Process process(launch);
  Said said;
  said.code = process.wait(std::chrono::seconds(120));
  said.output = read_file(launch.output);
  said.errors = read_file(launch.errors);
  return said;
}

}  // namespace sluice::e2e
