# SPDX-FileCopyrightText: 2026 The robollm authors
# SPDX-License-Identifier: Apache-2.0
"""Starts the perception node; argument names are those of nav2."""

from launch import LaunchDescription
from launch.actions import DeclareLaunchArgument, OpaqueFunction
from launch.substitutions import LaunchConfiguration, PathJoinSubstitution
from launch_ros.actions import LifecycleNode
from launch_ros.parameter_descriptions import ParameterValue
from launch_ros.substitutions import FindPackageShare

ARGUMENTS = {
    "namespace": ("", "Namespace of the node and of the topics it hears."),
    "use_sim_time": ("false", "Take the time from /clock."),
    "autostart": ("true", "Configure and activate without a lifecycle manager."),
    "use_respawn": ("false", "Start the node again if it ends."),
    "respawn_delay": ("2.0", "Seconds before that."),
    "log_level": ("info", "debug, info, warn, error or fatal."),
    "camera_names": ("", "As in tote_top,far_tray: each on NAME/image; empty: one camera."),
    "cameras_file": ("", "YAML with camera_names and cameras.NAME.*, on top of params_file."),
    "qos_overrides_file": ("", "YAML with qos_overrides.*, on top of params_file."),
    "image_topic": ("image", "Topic of the one camera; when compressed, less /compressed."),
    "manifest_topic": ("container/manifest", "Topic of the container's manifest."),
    "transport": ("", "raw or compressed images; empty: as in params_file."),
    "reference_root": ("", "Folder of the reference images; empty: as in params_file."),
    "bundle": ("", "Model bundle; with it, the shipped params_file, all defaults, is left out."),
}
OPTIONAL = {
    "transport": "input.transport",
    "reference_root": "identification.reference_root",
    "bundle": "runtime.bundle",
}
SHIPPED = [FindPackageShare("robollm"), "config", "robollm.yaml"]


def declared():
    described = "YAML with the node's parameters, as `robollm config` prints them."
    shipped = {"params_file": (PathJoinSubstitution(SHIPPED), described)}
    return [
        DeclareLaunchArgument(name, default_value=default, description=description)
        for name, (default, description) in {**shipped, **ARGUMENTS}.items()
    ]


def perception(context):
    names = (*ARGUMENTS, "params_file")
    said = {name: LaunchConfiguration(name).perform(context) for name in names}
    true = {name: said[name].lower() in ("true", "1") for name in ("use_sim_time", "autostart")}
    given = {OPTIONAL[name]: said[name] for name in OPTIONAL if said[name]}
    given = {name: ParameterValue(text, value_type=str) for name, text in given.items()}
    cameras = [name.strip() for name in said["camera_names"].split(",")]
    several = {"camera_names": cameras} if said["camera_names"] else {}
    # a file that states every default would win over all that the bundle says
    shipped = said["params_file"] == PathJoinSubstitution(SHIPPED).perform(context)
    files = [] if said["bundle"] and shipped else [said["params_file"]]
    files += [said[name] for name in ("cameras_file", "qos_overrides_file") if said[name]]
    return [
        LifecycleNode(
            package="robollm",
            executable="perception_node",
            name="perception",
            namespace=said["namespace"],
            output="screen",
            respawn=said["use_respawn"].lower() in ("true", "1"),
            respawn_delay=float(said["respawn_delay"]),
            parameters=[*files, {**true, **given, **several}],
            remappings=[
                ("image", said["image_topic"]),
                ("image/compressed", f"{said['image_topic']}/compressed"),
                ("container/manifest", said["manifest_topic"]),
            ],
            ros_arguments=["--log-level", said["log_level"]],
        )
    ]


def generate_launch_description():
    return LaunchDescription([*declared(), OpaqueFunction(function=perception)])
