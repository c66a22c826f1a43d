#include "cli/config_file.hpp"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cctype>
#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <iterator>
#include <nlohmann/json.hpp>

#include "base/error.hpp"
#include "base/exact_json.hpp"
#include "base/nearest.hpp"

namespace sluice::cli {
namespace {

namespace fs = std::filesystem;
using json = nlohmann::ordered_json;

std::string variable(const char* name) {
  const char* value = std::getenv(name);
  return value == nullptr ? std::string() : value;
}

std::string member(const json& object, const char* name) {
  const auto found = object.find(name);
  return found != object.end() && found->is_string() ? found->get<std::string>() : std::string();
}

Failure not_written(const fs::path& file) {
  return Failure(Error(ErrorKind::bad_input, "cli.config_not_written",
                       file.string() + " cannot be written: " + std::strerror(errno),
                       "Name another directory in XDG_CONFIG_HOME, or use --url and SLUICE_TOKEN"));
}

SavedContext context_of(const json& saved) {
  SavedContext context;
  context.url = member(saved, "url");
  context.workspace = member(saved, "workspace");
  context.token = member(saved, "token");
  context.token_file = member(saved, "token_file");
  context.ca_file = member(saved, "ca_file");
  const auto insecure = saved.find("insecure");
  context.insecure = insecure != saved.end() && insecure->is_boolean() && insecure->get<bool>();
  return context;
}

json saved(const SavedContext& context) {
  json one;
  one["url"] = context.url;
  if (!context.workspace.empty()) one["workspace"] = context.workspace;
  if (!context.token.empty()) one["token"] = context.token;
  if (!context.token_file.empty()) one["token_file"] = context.token_file;
  if (!context.ca_file.empty()) one["ca_file"] = context.ca_file;
  if (context.insecure) one["insecure"] = true;
  return one;
}

}  // namespace

fs::path config_file_path() {
  if (const std::string place = variable("XDG_CONFIG_HOME"); !place.empty())
    return fs::path(place) / "sluice/config.json";
  const std::string home = variable("HOME");
  return home.empty() ? fs::path() : fs::path(home) / ".config/sluice/config.json";
}

std::vector<std::string> ConfigFile::names() const {
  std::vector<std::string> all;
  for (const auto& [name, context] : contexts) all.push_back(name);
  return all;
}

const SavedContext& ConfigFile::at(const std::string& name) const {
  const auto found = contexts.find(name);
  if (found != contexts.end()) return found->second;
  std::string hint = did_you_mean(name, names()) +
                     (contexts.empty() ? "There is none yet: sluice login URL makes one"
                                       : "sluice context list shows all");
  throw Failure(Error(ErrorKind::not_found, "cli.context_unknown",
                      "there is no context '" + name + "'", std::move(hint)));
}

ConfigFile read_config_file() {
  ConfigFile config;
  const fs::path file = config_file_path();
  std::error_code unknown;
  if (file.empty() || !fs::exists(file, unknown)) return config;
  struct stat facts {};
  if (::stat(file.c_str(), &facts) == 0 && (facts.st_mode & 077) != 0) {
    throw Failure(Error(ErrorKind::denied, "cli.config_shared",
                        "other users may read or write " + file.string() + ", which holds tokens",
                        "chmod 600 " + file.string()));
  }
  std::ifstream input(file, std::ios::binary);
  const std::string text((std::istreambuf_iterator<char>(input)), std::istreambuf_iterator<char>());
  if (!input) {
    throw Failure(
        Error(ErrorKind::bad_input, "cli.config_unreadable", file.string() + " cannot be read"));
  }
  const auto document = read_ordered_json(text);
  if (!document || !document->is_object()) {
    throw Failure(Error(ErrorKind::bad_input, "cli.config_not_json",
                        file.string() + " is no JSON object" +
                            (document ? std::string() : ": " + document.error().describe()),
                        "Mend it, or move it away and use sluice login again"));
  }
  config.current = member(*document, "current");
  const auto contexts = document->find("contexts");
  if (contexts == document->end()) return config;
  const auto misshapen = [&](const std::string& what) {
    return Failure(Error(ErrorKind::bad_input, "cli.config_not_json",
                         fmt::format("in {}, {} is no object", file.string(), what),
                         "Mend it, or move it away and use sluice login again"));
  };
  if (!contexts->is_object()) throw misshapen("\"contexts\"");
  for (const auto& [name, one] : contexts->items()) {
    if (!one.is_object()) throw misshapen("context '" + name + "'");
    config.contexts.emplace(name, context_of(one));
  }
  return config;
}

namespace {

/// Whoever else would change the file waits until this is gone.
class Locked {
 public:
  explicit Locked(const fs::path& directory)
      : descriptor_(::open(directory.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC)) {
    if (descriptor_ < 0 || ::flock(descriptor_, LOCK_EX) != 0) {
      const Failure why = not_written(directory);
      if (descriptor_ >= 0) ::close(descriptor_);
      throw why;
    }
  }
  ~Locked() { ::close(descriptor_); }
  Locked(const Locked&) = delete;
  Locked& operator=(const Locked&) = delete;

 private:
  int descriptor_;
};

void write(const ConfigFile& config, const fs::path& file) {
  json document;
  document["current"] = config.current;
  document["contexts"] = json::object();
  for (const auto& [name, context] : config.contexts) document["contexts"][name] = saved(context);
  const std::string text = write_json_lines(document) + "\n";
  std::string fresh = file.string() + ".XXXXXX";
  const int descriptor = ::mkostemp(fresh.data(), O_CLOEXEC);  // of mode 0600
  if (descriptor < 0) throw not_written(fresh);
  const bool written =
      ::write(descriptor, text.data(), text.size()) == static_cast<ssize_t>(text.size()) &&
      ::fsync(descriptor) == 0 && ::rename(fresh.c_str(), file.c_str()) == 0;
  const Failure why = not_written(file);
  ::close(descriptor);
  if (written) return;
  ::unlink(fresh.c_str());
  throw why;
}

}  // namespace

void change_config_file(const std::function<void(ConfigFile&)>& change) {
  fs::path file = config_file_path();
  if (file.empty()) {
    throw Failure(Error(ErrorKind::bad_input, "cli.config_not_written",
                        "there is no place for a configuration file: neither HOME nor "
                        "XDG_CONFIG_HOME is set",
                        "export XDG_CONFIG_HOME=DIRECTORY"));
  }
  std::error_code failed;
  fs::create_directories(file.parent_path(), failed);
  // A link, as those have who keep their files elsewhere, stays one.
  const fs::path real = fs::canonical(file, failed);
  if (!failed) file = real;
  const Locked locked(file.parent_path());
  ConfigFile config = read_config_file();
  change(config);
  write(config, file);
}

std::string token_in(const fs::path& file) {
  std::ifstream input(file);
  std::string token;
  std::getline(input, token);
  while (!token.empty() && std::isspace(static_cast<unsigned char>(token.back())) != 0)
    token.pop_back();
  if (token.empty()) {
    throw Failure(Error(ErrorKind::denied, "token.missing", "there is no token in " + file.string(),
                        "Its first line is slc_ and what follows; may you read it?"));
  }
  return token;
}

}  // namespace sluice::cli
