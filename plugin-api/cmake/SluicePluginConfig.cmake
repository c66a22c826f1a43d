include("${CMAKE_CURRENT_LIST_DIR}/SluicePluginTargets.cmake")
include("${CMAKE_CURRENT_LIST_DIR}/SluiceConnector.cmake")
