# Runs inside SCons' own namespace: nothing is defined here. The tools are in site_tools/.
